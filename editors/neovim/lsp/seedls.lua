-- seedls for Neovim >= 0.11: put this directory on 'runtimepath', then `vim.lsp.enable('seedls')`.
-- Ghost text needs Neovim >= 0.12 (`vim.lsp.inline_completion.enable()`); 0.11 gets completion entries and code actions.

---@type vim.lsp.Config
return {
  cmd = { 'seedls', 'serve', '--stdio' },
  filetypes = {
    'c', 'cpp', 'cs', 'go', 'java', 'javascript', 'javascriptreact', 'kotlin', 'lua', 'php', 'python', 'ruby', 'rust',
    'sh', 'sql', 'swift', 'typescript', 'typescriptreact',
  },
  root_markers = { { 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' }, '.git' },
  settings = { seedls = vim.empty_dict() },
}
