"""Source code with a call before every line: which lines there are, and what each of them touches, from the syntax.

A module is instrumented as a whole and compiled; `code_for` finds the code object of a function in it. Nothing but the
calls is added, so names, closures, docstrings and line numbers stay what they are. What the calls do is `lines.py`.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeVar

#: The global variable of an instrumented module that holds what is called.
PROBES = "__cpugpu_lines__"

_LABEL = 60
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ClassDef)
#: What nobody can see happen.
_QUIET = (ast.Pass, ast.Global, ast.Nonlocal, ast.Break, ast.Continue)
_PLAIN = (ast.Expr, ast.Assign, ast.Return, ast.Name, ast.Constant, ast.Tuple, ast.Load, ast.Store)
_HANDS_ON = (ast.Assign, ast.Return, ast.Expr)
#: Where an object gets its name: when it is made, or, for a data class, has been made.
_BIRTHS = ("__init__", "__post_init__")
_BY_NAME = ("getattr", "setattr", "delattr")

Node = TypeVar("Node", bound=ast.AST)


class Touch(NamedTuple):
    """What a line touches, as it is written.

    `a.b.c`: the attribute "c" of what the variable `root` "a" and the `path` ("b",) lead to. `root` is empty where that
    is another expression, `attribute` where it is the variable itself. `called`: it is only called there. `private`: it
    is a variable that no other function can see, so only what it stands for may matter.
    """

    root: str
    path: tuple[str, ...]
    attribute: str
    stores: bool
    called: bool
    private: bool = False


class Site(NamedTuple):
    """A line. `label`: for people."""

    label: str
    touches: tuple[Touch, ...]


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


@dataclass
class _Scope:
    """A function, a class or a module, from within. `private`: variables that no other function can see."""

    name: str
    is_function: bool
    private: frozenset[str] = frozenset()
    mangled: str = ""  # the class whose private names are meant


class _Instrumenter(ast.NodeTransformer):
    """Puts the calls in."""

    def __init__(self, text: Sequence[str], sites: list[Site]) -> None:
        self.spans: dict[tuple[str, int], tuple[int, int]] = {}
        self._text = text
        self._sites = sites
        self._scopes = [_Scope("", is_function=False)]
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
                self._site, is_line = self._line(statement, _heads(statement))
                if is_line and not isinstance(statement, ast.While):
                    found.append(ast.copy_location(ast.Expr(self._call("line", self._site, at=statement)), statement))
                self.visit(statement)
            found.append(statement)
        return found

    def _line(self, node: ast.AST, heads: Iterable[ast.AST]) -> tuple[int, bool]:
        """The number of a line, and whether it could matter."""
        heads = list(heads)
        collector = _Collector(self._scopes[-1])
        for head in heads:
            collector.visit(head)
        number = getattr(node, "lineno", 0)
        text = self._text[number - 1].strip() if 0 < number <= len(self._text) else ""
        label = f"{self._name()}:{number}  {text if len(text) <= _LABEL else text[: _LABEL - 1] + '…'}"
        runs = not isinstance(node, _QUIET) and any(
            not isinstance(each, _PLAIN) for head in heads for each in ast.walk(head)
        )
        touches = dict.fromkeys(collector.touches)
        if not runs and isinstance(node, _HANDS_ON):  # nobody looks into what a variable stands for
            touches = {touch: None for touch in touches if not touch.private}
        self._sites.append(Site(label, tuple(touches)))
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
        self._scopes.append(_Scope(node.name, True, _private(node), owner.mangled))
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
        self._scopes.append(_Scope(node.name, False, frozenset(), node.name.lstrip("_")))
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
        self._scopes.append(_Scope("<lambda>", True, _private(node), scope.mangled))
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
        bound = frozenset(name for part in parts for name in _stored(part))
        self._scopes.append(_Scope("<genexpr>", True, bound | scope.private, scope.mangled))
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


class _Collector(ast.NodeVisitor):
    """Finds what a line touches."""

    def __init__(self, scope: _Scope) -> None:
        self.touches: list[Touch] = []
        self._scope = scope
        self._bound: set[str] = set()  # variables that get their values within the line

    def visit(self, node: ast.AST) -> None:
        """Variables that are bound within the line come first: what they are before it does not count."""
        if not self.touches and not self._bound:
            for each in _here(node):
                if isinstance(each, ast.NamedExpr):
                    self._bound.update(part.id for part in ast.walk(each.target) if isinstance(part, ast.Name))
                elif isinstance(each, (ast.comprehension, ast.withitem)):
                    target = each.target if isinstance(each, ast.comprehension) else each.optional_vars
                    if target is not None:
                        self._bound.update(_stored(target))
        super().visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """An attribute, and those on the way to it."""
        self._attribute(node.value, node.attr, stores=not isinstance(node.ctx, ast.Load))
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        """A method is called, or an attribute is named by a string."""
        function = node.func
        if isinstance(function, ast.Attribute):
            self._attribute(function.value, function.attr, called=True)
            self.visit(function.value)
        else:
            self.visit(function)
            if isinstance(function, ast.Name) and function.id in _BY_NAME and len(node.args) >= 2:
                name = node.args[1]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    self._attribute(node.args[0], name.value, stores=function.id != "getattr", mangle=False)
        for each in (*node.args, *node.keywords):
            self.visit(each)

    def visit_Name(self, node: ast.Name) -> None:
        """A variable, where another function can see it, or what it stands for."""
        name, loads = node.id, isinstance(node.ctx, ast.Load)
        if name in self._bound or name in ("self", "cls"):
            return
        if name in self._scope.private:
            if loads:
                self.touches.append(Touch(name, (), "", False, False, private=True))
        elif not hasattr(builtins, name):
            self.touches.append(Touch(name, (), "", not loads, False))

    def visit_MatchClass(self, node: Any) -> None:
        """A pattern that looks at attributes."""
        for name in node.kwd_attrs:
            self.touches.append(Touch("", (), name, False, False))
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Only its defaults are of this line."""
        self.visit(node.args)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Only its decorators, defaults and annotations are of this line."""
        for each in (*node.decorator_list, node.args, *([node.returns] if node.returns else [])):
            self.visit(each)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """Only what it comes from is of this line."""
        self.visit(node.generators[0].iter)

    def _attribute(
        self, owner: ast.expr, name: str, *, stores: bool = False, called: bool = False, mangle: bool = True
    ) -> None:
        if mangle and self._scope.mangled and name.startswith("__") and not name.endswith("__"):
            name = f"_{self._scope.mangled}{name}"
        if isinstance(owner, (ast.Constant, ast.JoinedStr)) or _is_super(owner):
            return
        path: list[str] = []
        while isinstance(owner, ast.Attribute):
            path.insert(0, owner.attr)
            owner = owner.value
        plain = isinstance(owner, ast.Name) and owner.id not in self._bound
        root = owner.id if plain and isinstance(owner, ast.Name) else ""
        if self._scope.mangled:
            path = [f"_{self._scope.mangled}{each}" if _is_private(each) else each for each in path]
        self.touches.append(Touch(root, tuple(path) if root else (), name, stores, called))


def _heads(statement: ast.stmt) -> list[ast.AST]:
    """What a statement does itself, without the statements in it."""
    if isinstance(statement, (ast.If, ast.While)):
        return [statement.test]
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return [statement.iter, statement.target]
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return [*statement.items]
    if isinstance(statement, ast.Match):
        return [statement.subject, *(case.pattern for case in statement.cases)]
    if isinstance(statement, ast.ClassDef):
        inner = [head for each in statement.body for head in _heads(each)]
        return [*statement.decorator_list, *statement.bases, *statement.keywords, *inner]
    return [] if hasattr(statement, "handlers") else [statement]


def _here(node: ast.AST) -> Iterator[ast.AST]:
    """What is in it, without the functions in it."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*_SCOPES, ast.GeneratorExp)):
            yield from _here(child)


def _private(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    """The variables of a function that no other function uses."""
    arguments = function.args
    own = {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    own.update(each.arg for each in (arguments.vararg, arguments.kwarg) if each is not None)
    shared: set[str] = set()
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, _SCOPES):
                shared.update(each.id for each in ast.walk(node) if isinstance(each, ast.Name))
            elif isinstance(node, (ast.Global, ast.Nonlocal)):
                shared.update(node.names)
        own.update(each for node in _here(statement) for each in _binds(node))
    return frozenset(own - shared)


def _binds(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Name):
        return () if isinstance(node.ctx, ast.Load) else (node.id,)
    if isinstance(node, ast.alias):
        return ((node.asname or node.name).partition(".")[0],)
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return (node.name,) if node.name else ()
    if isinstance(node, ast.MatchMapping):
        return (node.rest,) if node.rest else ()
    return ()


def _stored(node: ast.AST) -> Iterator[str]:
    """The variables that get a value in it."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")
