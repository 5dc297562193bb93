"""Source code with a call before every line.

A module is instrumented as a whole and compiled; `code_for` finds the code object of a function in it. Nothing but the
calls is added, so names, closures, docstrings and line numbers stay what they are. What the calls do is `lines.py`;
what a line touches is `touches.py`.
"""

from __future__ import annotations

import ast
import linecache
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

from cpugpu.explore.touches import Scope, Site, heads_of, private_variables, stored_in, touches_of

#: The global variable of an instrumented module that holds what is called.
PROBES = "__cpugpu_lines__"

_LABEL = 60
#: What nobody can see happen.
_QUIET = (ast.Pass, ast.Global, ast.Nonlocal, ast.Break, ast.Continue)
_PLAIN = (ast.Expr, ast.Assign, ast.Return, ast.Name, ast.Constant, ast.Tuple, ast.Load, ast.Store)
_HANDS_ON = (ast.Assign, ast.Return, ast.Expr)
#: Where an object gets its name: when it is made, or, for a data class, has been made.
_BIRTHS = ("__init__", "__post_init__")


@dataclass
class Source:
    """An instrumented module.

    `declared`: variables that are `global` or `nonlocal` somewhere. `spans`: the lines of each function, by its name
    and its first line.
    """

    code: CodeType
    declared: set[str] = field(default_factory=set)
    spans: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)


def instrument(filename: str, namespace: dict[str, Any], sites: list[Site]) -> Source | None:
    """The module of that file; its lines are added to `sites`. None where there is no source."""
    text = linecache.getlines(filename, namespace)
    if not text:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say about the source was said when it was imported
        return _instrumented(text, filename, sites)


def _instrumented(text: Sequence[str], filename: str, sites: list[Site]) -> Source:
    tree = ast.parse("".join(text), filename)
    instrumenter = _Instrumenter(text, sites)
    found = Source(compile("", filename, "exec"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            found.declared.update(node.names)
    instrumenter.visit(tree)
    found.spans = instrumenter.spans
    found.code = compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)
    return found


def code_for(function: FunctionType, source: Source) -> CodeType | None:
    """The instrumented code of `function`. None where the source does not fit it, or fits it twice."""
    original = function.__code__
    same = [
        code
        for code in _codes(source.code)
        if (code.co_name, code.co_firstlineno, code.co_freevars, code.co_argcount)
        == (original.co_name, original.co_firstlineno, original.co_freevars, original.co_argcount)
    ]
    return same[0] if len(same) == 1 else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


class _Instrumenter(ast.NodeTransformer):
    """Puts the calls in."""

    def __init__(self, text: Sequence[str], sites: list[Site]) -> None:
        self.spans: dict[tuple[str, int], tuple[int, int]] = {}
        self._text = text
        self._sites = sites
        self._scopes = [Scope("", is_function=False)]
        self._site = 0  # of the line that is visited

    # -- statements --------------------------------------------------------------------------------------------------

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit what is in it; lists of statements get their calls."""
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                if value and isinstance(value[0], ast.stmt):
                    setattr(node, name, self._block(value))
                else:
                    value[:] = [self.visit(each) if isinstance(each, ast.AST) else each for each in value]
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        return node

    def _block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        scope = self._scopes[-1]
        found: list[ast.stmt] = []
        for statement in statements:
            if not scope.is_function:
                self.visit(statement)
            else:
                self._site, is_line = self._line(statement, heads_of(statement))
                if is_line and not isinstance(statement, ast.While):
                    found.append(ast.copy_location(ast.Expr(self._call("line", self._site, at=statement)), statement))
                self.visit(statement)
            found.append(statement)
        return found

    def _line(self, node: ast.AST, heads: Iterable[ast.AST]) -> tuple[int, bool]:
        """The number of a line, and whether it could matter."""
        heads = list(heads)
        touches = touches_of(heads, self._scopes[-1])
        number = getattr(node, "lineno", 0)
        text = self._text[number - 1].strip() if 0 < number <= len(self._text) else ""
        label = f"{self._name()}:{number}  {text if len(text) <= _LABEL else text[: _LABEL - 1] + '…'}"
        runs = not isinstance(node, _QUIET) and any(
            not isinstance(each, _PLAIN) for head in heads for each in ast.walk(head)
        )
        if not runs and isinstance(node, _HANDS_ON):  # nobody looks into what a variable stands for
            touches = tuple(touch for touch in touches if not touch.private)
        self._sites.append(Site(label, touches))
        return len(self._sites) - 1, runs or bool(touches)

    def _name(self) -> str:
        return ".".join(scope.name for scope in self._scopes if scope.name)

    def _call(self, what: str, *arguments: int | ast.expr, at: ast.AST) -> ast.Call:
        given = [ast.Constant(each) if isinstance(each, int) else each for each in arguments]
        call = ast.Call(ast.Attribute(ast.Name(PROBES, ast.Load()), what, ast.Load()), given, [])
        for node in (call, call.func, call.func.value, *given):  # type: ignore[attr-defined]
            if not hasattr(node, "lineno"):
                ast.copy_location(node, at)
        return call

    def _and(self, site: int, expression: ast.expr) -> ast.expr:
        """The expression, with the call before it."""
        call = self._call("line", site, at=expression)
        return ast.copy_location(ast.BoolOp(ast.And(), [call, expression]), expression)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        """Its body is of a scope of its own."""
        outer, begin = self._site, len(self._sites)
        first_line = min(each.lineno for each in (node, *node.decorator_list))
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.args = self.visit(node.args)
        owner = self._scopes[-1]
        self._scopes.append(Scope(node.name, True, private_variables(node), owner.mangled))
        first = 1 if ast.get_docstring(node, clean=False) is not None else 0
        body = self._block(node.body[first:])
        if node.name in _BIRTHS and not owner.is_function and (arguments := [*node.args.posonlyargs, *node.args.args]):
            at = node.body[0]
            born = self._call("born", ast.Name(arguments[0].arg, ast.Load()), at=at)
            body.insert(0, ast.copy_location(ast.Expr(born), at))
        node.body = [*node.body[:first], *body]
        self.spans[node.name, first_line] = begin, len(self._sites)
        self._scopes.pop()
        self._site = outer
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Its methods are of it; its own statements are part of the line that makes it."""
        for part in (node.decorator_list, node.bases, node.keywords):
            part[:] = [self.visit(each) for each in part]
        self._scopes.append(Scope(node.name, False, frozenset(), node.name.lstrip("_")))
        node.body = self._block(node.body)
        self._scopes.pop()
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        """Each test is a line."""
        if not self._scopes[-1].is_function:
            return self.generic_visit(node)
        site, is_line = self._line(node, [node.test])
        self._site = site
        node.test = self.visit(node.test)
        if is_line and not isinstance(node.test, ast.Constant):
            node.test = self._and(site, node.test)
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        """Each iteration is a line, where it touches something."""
        site = self._site
        node.iter = self.visit(node.iter)
        if self._scopes[-1].is_function and self._sites[site].touches:
            node.iter = self._call("each", site, node.iter, at=node.iter)
        node.target = self.visit(node.target)
        node.body = self._block(node.body)
        node.orelse = self._block(node.orelse)
        return node

    def visit_With(self, node: ast.With | ast.AsyncWith) -> ast.AST:
        """The last line of its body is over when it ends."""
        self.generic_visit(node)
        if self._scopes[-1].is_function and not isinstance(node.body[-1], (ast.Return, ast.Raise, *_QUIET[3:])):
            last = node.body[-1]
            node.body.append(ast.copy_location(ast.Expr(self._call("clear", at=last)), last))
        return node

    visit_AsyncWith = visit_With  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        """What it catches is looked up when something was raised."""
        if node.type is not None and self._scopes[-1].is_function:
            self._site, _ = self._line(node, [node.type])
            node.type = self.visit(node.type)
            if any(touch.attribute for touch in self._sites[self._site].touches):
                node.type = self._and(self._site, node.type)
        node.body = self._block(node.body)
        return node

    def visit_match_case(self, node: Any) -> Any:
        """The guard is a line."""
        if node.guard is not None and self._scopes[-1].is_function:
            self._site, _ = self._line(node.guard, [node.guard])
            node.guard = self._and(self._site, self.visit(node.guard))
        node.body = self._block(node.body)
        return node

    # -- expressions that run at another time than the line ---------------------------------------------------------

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Its body is a line of its own."""
        outer, begin = self._site, len(self._sites)
        node.args = self.visit(node.args)
        scope = self._scopes[-1]
        self._scopes.append(Scope("<lambda>", True, private_variables(node), scope.mangled))
        self._site, is_line = self._line(node, [node.body])
        node.body = self.visit(node.body)
        if is_line:
            node.body = self._and(self._site, node.body)
        self.spans["<lambda>", node.lineno] = begin, len(self._sites)
        self._scopes.pop()
        self._site = outer
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        """Each element is a line, and so is each look at where they come from."""
        if not self._scopes[-1].is_function:
            return self.generic_visit(node)
        outer = self._site
        parts: list[ast.AST] = [node.elt]
        for number, generator in enumerate(node.generators):
            parts += [*([generator.iter] if number else []), generator.target, *generator.ifs]
        scope = self._scopes[-1]
        bound = frozenset(name for part in parts for name in stored_in(part))
        self._scopes.append(Scope("<genexpr>", True, bound | scope.private, scope.mangled))
        self._site, _ = self._line(node, parts)
        site = self._site
        node.elt = self._and(site, self.visit(node.elt))
        for number, generator in enumerate(node.generators):
            generator.ifs = [self._and(site, self.visit(each)) for each in generator.ifs]
            if number:
                generator.iter = self._and(site, self.visit(generator.iter))
        self._scopes.pop()
        self._site = outer
        source = self.visit(node.generators[0].iter)
        node.generators[0].iter = self._call("drawn", outer, source, at=source)
        return node

    def visit_Yield(self, node: ast.Yield | ast.YieldFrom | ast.Await) -> ast.AST:
        """The rest of the line comes when somebody lets it go on."""
        self.generic_visit(node)
        return self._call("resumed", self._site, node, at=node) if self._scopes[-1].is_function else node

    visit_YieldFrom = visit_Await = visit_Yield  # noqa: N815
