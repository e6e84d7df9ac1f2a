"""From files as people have them (text, Markdown, HTML, PDF, DOCX) to plain text. Knows nothing of models."""
