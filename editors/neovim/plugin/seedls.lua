-- The `:Seedls` command; everything behind it is loaded when it is first used. Settings: require('seedls').setup().

if vim.g.loaded_seedls then
  return
end
vim.g.loaded_seedls = true

vim.api.nvim_create_user_command('Seedls', function(command)
  require('seedls.commands').run(command)
end, {
  nargs = '*',
  bang = true,
  range = true,
  desc = 'Completion and rewriting by seedls',
  complete = function(lead, line)
    return require('seedls.commands').complete(lead, line)
  end,
})
