"""What a platform team does with projects after they were rendered: updates, defaults of an organisation, policies."""
