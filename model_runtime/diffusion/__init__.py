"""Block decoding: drafts on a canvas, parallel evaluation, commits. Shared with training where both need it."""
