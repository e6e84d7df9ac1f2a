"""Every command and printed output of README and docs, the site, the notebook, the package."""
