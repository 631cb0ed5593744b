"""What all reports share: number formats, tables, sentences, plots as inline SVG, and the HTML page."""
