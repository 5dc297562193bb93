"""What a line touches, as it is written: attributes, shared variables, and what may stand for something that is shared.

It is found in the syntax alone. What the names stand for when the line runs is `attributes.py`.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_BY_NAME = ("getattr", "setattr", "delattr")


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
class Scope:
    """A function, a class or a module, from within. `private`: variables that no other function can see."""

    name: str
    is_function: bool
    private: frozenset[str] = frozenset()
    mangled: str = ""  # the class whose private names are meant


def touches_of(nodes: Iterable[ast.AST], scope: Scope) -> tuple[Touch, ...]:
    """What these parts of a line in `scope` touch, each once."""
    collector = _Collector(scope)
    for node in nodes:
        collector.visit(node)
    return tuple(dict.fromkeys(collector.touches))


def heads_of(statement: ast.stmt) -> list[ast.AST]:
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
        inner = [head for each in statement.body for head in heads_of(each)]
        return [*statement.decorator_list, *statement.bases, *statement.keywords, *inner]
    return [] if hasattr(statement, "handlers") else [statement]


class _Collector(ast.NodeVisitor):
    """Finds what a line touches."""

    def __init__(self, scope: Scope) -> None:
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
                        self._bound.update(stored_in(target))
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


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def private_variables(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
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


def stored_in(node: ast.AST) -> Iterator[str]:
    """The variables that get a value in it."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id


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


def _here(node: ast.AST) -> Iterator[ast.AST]:
    """What is in it, without the functions in it."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*_SCOPES, ast.GeneratorExp)):
            yield from _here(child)
