"""Vision-language-action policies: any image-text-to-text model whose answer is a few action tokens."""
