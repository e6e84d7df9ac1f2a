"""PDF, Word, HTML, Markdown and text files to plain text."""
