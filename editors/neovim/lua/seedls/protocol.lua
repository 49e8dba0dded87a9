-- What the server speaks beyond the standard: the mirror of seedls/protocol.py, proved equal by
-- tests/editors/test_contracts.py. Owns names only.

return {
  STATUS = 'seedls/status',
  EXPLAIN_LAST = 'seedls/explainLast',
  STATE_CHANGED = 'seedls/stateChanged',

  COMMAND_STATUS = 'seedls.status',
  COMMAND_EXPLAIN_LAST = 'seedls.explainLast',
  COMMAND_RESTART = 'seedls.restart',
  COMMAND_ACCEPTED = 'seedls.accepted',
  COMMAND_APPLY_ACTION = 'seedls.applyAction',
  COMMAND_REFACTOR = 'seedls.refactor',

  CUSTOM_INSTRUCTION = 'custom',
  MAX_PROMPT_CHARACTERS = 2000,
}
