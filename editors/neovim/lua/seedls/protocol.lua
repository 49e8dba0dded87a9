-- What the server speaks beyond the standard: written from seedls/protocol.py by
-- `python -m tests.editors.test_contracts`. Owns names only.

return {
  STATUS = 'seedls/status',
  EXPLAIN_LAST = 'seedls/explainLast',
  NEXT_EDIT = 'seedls/nextEdit',
  COPILOT_INLINE_EDIT = 'textDocument/copilotInlineEdit',
  COPILOT_DID_FOCUS = 'textDocument/didFocus',
  COPILOT_DID_SHOW = 'textDocument/didShowInlineEdit',
  STATE_CHANGED = 'seedls/stateChanged',
  EDIT_RUN_START = 'seedls/editRun/start',
  EDIT_RUN_STEP = 'seedls/editRun/step',
  EDIT_RUN_ACCEPT = 'seedls/editRun/accept',
  EDIT_RUN_CANCEL = 'seedls/editRun/cancel',
  COMMAND_STATUS = 'seedls.status',
  COMMAND_EXPLAIN_LAST = 'seedls.explainLast',
  COMMAND_RESTART = 'seedls.restart',
  COMMAND_ACCEPTED = 'seedls.accepted',
  COMMAND_APPLY_ACTION = 'seedls.applyAction',
  COMMAND_REFACTOR = 'seedls.refactor',
  COMMAND_DELETE_KEPT_RATE = 'seedls.deleteKeptRate',
  CUSTOM_INSTRUCTION = 'custom',
  MAX_PROMPT_CHARACTERS = 2000,
}
