"""What a user would see of the answers: those that change something and pass the checks that the server makes."""

from __future__ import annotations

from benchmarks.edits.corpus import RefactorCase, framed
from benchmarks.edits.rows import Row
from seedls.edit_checks import Edit, reason_not_to_offer, scope_of, unfinished_reason
from seedls.syntax import parse


def is_offered(row: Row, case: RefactorCase) -> bool:
    """True if the server would show this answer to this case."""
    if row.share == 0.0 or row.changes_outside or unfinished_reason(True, row.finish_reason) is not None:
        return False
    old, start = framed(case.before)
    tree = parse("python", old)
    assert tree is not None
    end = start + len(case.before)
    edit = Edit(tree, framed(row.text)[0], start, end, case.instruction, scope_of(case.instruction))
    return reason_not_to_offer(edit) is None
