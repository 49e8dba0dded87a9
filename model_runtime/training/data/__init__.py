"""From package archives to training samples: sources, filters, shards, holes, edit pairs."""
