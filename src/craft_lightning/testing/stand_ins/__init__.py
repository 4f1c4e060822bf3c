"""Small random models with the module names and tensor layouts of released policies, for tests without them."""
