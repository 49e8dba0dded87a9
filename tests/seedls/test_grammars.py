"""Every grammar of the table, where its wheel is installed: outline, comments, strings, errors."""

from __future__ import annotations

import pytest

from seedls.syntax import SyntaxTree, parse

CLASS_IN_JS = "// note\nclass A { m(a) { return 'x' } }\nexport function f() { return 1 }\n"
SOURCES = {
    "python": ("# note\nclass A:\n    def m(self):\n        return 'x'\ndef f(): pass\n", ["A", "m", "f"]),
    "javascript": (CLASS_IN_JS, ["A", "m", "f"]),
    "javascriptreact": (CLASS_IN_JS, ["A", "m", "f"]),
    "typescript": ("// note\ninterface I { a: string }\nclass A { m(): string { return 'x' } }\n", ["I", "A", "m"]),
    "typescriptreact": ("// note\nfunction B() { const a = 'x'; return <a/> }\n", ["B"]),
    "rust": ('// note\nstruct S {}\nimpl S { fn m(&self) -> &str { "x" } }\nfn f() {}\n', ["S", "S", "m", "f"]),
    "go": ('package a\n// note\ntype T struct{}\nfunc (t T) M() string { return "x" }\n', ["T", "M"]),
    "c": ('// note\nstruct s { int a; };\nchar *g(void) { return "x"; }\n', ["s", "g"]),
    "cpp": ('// note\nclass A { int f() { return 1; } };\nauto A::g() { return "x"; }\n', ["A", "f", "A::g"]),
    "java": ('// note\nclass A { String m() { return "x"; } }\n', ["A", "m"]),
    "lua": ("-- note\nlocal function f(a) return 'x' end\n", ["f"]),
    "csharp": ('// note\nclass A { string M() { return "x"; } }\n', ["A", "M"]),
    "ruby": ("# note\nclass A\n  def m(a)\n    'x'\n  end\nend\n", ["A", "m"]),
    "php": ("<?php // note\nclass A { function m() { return 'x'; } }\n", ["A", "m"]),
    "shellscript": ('# note\nf() { echo "x"; }\n', ["f"]),
}


def _tree(language: str) -> tuple[str, SyntaxTree]:
    text = SOURCES[language][0]
    tree = parse(language, text)
    if tree is None:
        pytest.skip(f"the grammar of {language} is not installed")
    return text, tree


@pytest.mark.parametrize("language", SOURCES)
def test_definitions_comments_and_strings_are_seen(language: str) -> None:
    text, tree = _tree(language)
    assert tree.count_errors() == 0
    assert [node.name for node in tree.outline()] == SOURCES[language][1]
    assert tree.is_in_comment(text.index("note") + 2)
    string = text.index("'x'" if "'x'" in text else '"x"')
    assert tree.is_in_string(string + 1)
    assert not tree.is_in_comment(string + 1)
    assert tree.enclosing_function(string, string) is not None


@pytest.mark.parametrize("language", SOURCES)
def test_a_broken_text_has_errors(language: str) -> None:
    text, _ = _tree(language)
    broken = parse(language, text.rstrip().removesuffix("}").removesuffix("end").removesuffix("pass") + "((\n")
    assert broken is not None
    assert broken.count_errors() > 0
