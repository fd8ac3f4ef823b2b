"""The names that the sources define, and the names that the pages in `docs/` use."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("committee", "haulout", "localnet", "storage")
CONTRACTS = ROOT / "contracts/evm/src"

NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(\))?`")
PATH = re.compile(r"`((?:[\w-]+/)+[\w-]+(?:\.t)?\.(?:py|sol|md))`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FILE_SUFFIXES = frozenset({"key", "log", "netrc", "sol", "sqlite", "toml"})
LONGEST_DESCENT = 5
"""Classes and contracts inherit from no more that are above each other."""
NO_CODE = frozenset({"chain.status", "chain.unsettledSeconds", "metadata.block", "haulout.storage"})
"""Fields of JSON, and the domain of an error."""

CONTRACT = re.compile(
    r"^(?:abstract )?(?:contract|library|interface) (\w+)(?: is ([\w, ]+))? \{", re.MULTILINE
)
MEMBER = re.compile(r"\b(?:function|error|event|modifier|struct|enum) (\w+)")
VARIABLE = re.compile(r"^ {4}[^\n(){};]*\b(\w+)(?: =[^;]*)?;", re.MULTILINE)


@dataclass
class Names:
    """What the sources define."""

    modules: dict[str, frozenset[str]] = field(default_factory=dict)
    """Module → its own names; of a package those that it hands on too."""
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Class, contract, `module.Class` → the names of its members, inherited ones included."""
    constants: dict[str, object] = field(default_factory=dict)
    """`module.CONSTANT` → its value, of those that are numbers, or made of numbers of their module."""

    def defined(self, name: str) -> list[str]:
        """Return the full names that a dotted name may stand for: `module.name`, `Class.member`, or a module.

        A module may be named by the end of its path, as `shards` or `committee.shards`.
        """
        before, _, last = name.rpartition(".")
        found = list(self._modules_ending_with(name))
        found += [
            f"{module}.{last}" for module in self._modules_ending_with(before) if last in self.modules[module]
        ]
        found += [f"{of}.{last}" for of in _ending_with(self.members, before) if last in self.members[of]]
        return found

    def _modules_ending_with(self, name: str) -> list[str]:
        return _ending_with(self.modules, name)


def _ending_with(names: dict[str, frozenset[str]] | dict[str, set[str]], name: str) -> list[str]:
    return [one for one in names if one == name or one.endswith(f".{name}")]


def of_sources() -> Names:
    """Read the Python sources and the contracts."""
    names = Names()
    bases: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            tree = ast.parse(path.read_bytes())
            names.constants |= {f"{module}.{name}": value for name, value in _numbers(tree).items()}
            names.modules[module] = frozenset(_defined_in(tree, with_imports=is_package))
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    of = f"{module}.{node.name}"
                    names.members[of] |= set(_members(node))
                    bases[of] = [one.id for one in node.bases if isinstance(one, ast.Name)]
    bases |= _add_contracts(names)
    for _ in range(LONGEST_DESCENT):
        for name, above in bases.items():
            for base in above:
                for known in _ending_with(names.members, base):
                    names.members[name] |= names.members[known]
    return names


def _defined_in(tree: ast.Module | ast.ClassDef, *, with_imports: bool = False) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (
                    one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)
                )
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.ImportFrom(names=aliases) if with_imports:
                yield from (alias.asname or alias.name for alias in aliases)


def _numbers(tree: ast.Module) -> dict[str, object]:
    """Return the module's constants that are numbers: literals, and sums and products of these and of each other."""
    found: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            with suppress(Exception):
                value = eval(compile(ast.Expression(node.value), "", "eval"), {"__builtins__": {}}, found)
                match node.targets[0]:
                    case ast.Name(id=name):
                        found[name] = value
                    case ast.Tuple(elts=parts):
                        found |= dict(zip(map(ast.unparse, parts), value, strict=True))
    return found


def _members(of: ast.ClassDef) -> Iterator[str]:
    yield from _defined_in(of)
    for node in ast.walk(of):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def _add_contracts(names: Names) -> dict[str, list[str]]:
    """Add what the contracts define; return each contract's bases."""
    bases: dict[str, list[str]] = {}
    for path in sorted(CONTRACTS.rglob("*.sol")):
        source = path.read_text()
        for found in CONTRACT.finditer(source):
            name = found[1]
            bases[name] = [base.strip() for base in (found[2] or "").split(",") if base.strip()]
            names.members[name] |= set(MEMBER.findall(source)) | set(VARIABLE.findall(source))
    return bases


def used_in(text: str) -> list[str]:
    """Return the dotted code names of a page, each once, in their order."""
    found = NAME.findall(FENCE.sub("", text))
    return [
        one
        for one in dict.fromkeys(found)
        if one not in NO_CODE and one.rpartition(".")[2] not in FILE_SUFFIXES
    ]


def paths_in(text: str) -> list[str]:
    """Return the source files that a page names."""
    return list(dict.fromkeys(PATH.findall(FENCE.sub("", text))))


def wrong_names(text: str, names: Names) -> list[str]:
    """Return what is wrong with the names of a page: those that nothing defines, and those that several modules do."""
    wrong = [f"{path}: no such file" for path in paths_in(text) if not _is_file(path)]
    for name in used_in(text):
        found = names.defined(name)
        if not found:
            wrong.append(f"{name}: nothing in the sources has this name")
        elif len(found) > 1:
            wrong.append(f"{name}: may be any of {', '.join(found)}; write more of its path")
    return wrong


def _is_file(path: str) -> bool:
    return any((folder / path).is_file() for folder in (ROOT, CONTRACTS.parent, CONTRACTS))
