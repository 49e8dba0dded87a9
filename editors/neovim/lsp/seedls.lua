-- seedls for Neovim >= 0.11: put this directory on 'runtimepath', then `vim.lsp.enable('seedls')`, or let
-- `require('seedls').setup()` do both. This file alone gives completion entries and code actions in 0.11; ghost text
-- needs the plugin there, or Neovim >= 0.12 (`vim.lsp.inline_completion.enable()`).

-- Filetypes whose name in the protocol is another one.
local LANGUAGE_IDS = { cs = 'csharp', sh = 'shellscript' }

---@type vim.lsp.Config
return {
  cmd = { 'seedls', 'serve', '--stdio' },
  filetypes = {
    'c', 'cpp', 'cs', 'go', 'java', 'javascript', 'javascriptreact', 'kotlin', 'lua', 'php', 'python', 'ruby', 'rust',
    'sh', 'sql', 'swift', 'typescript', 'typescriptreact',
  },
  root_markers = { { 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' }, '.git' },
  settings = { seedls = vim.empty_dict() },
  get_language_id = function(_, filetype)
    return LANGUAGE_IDS[filetype] or filetype
  end,
}
