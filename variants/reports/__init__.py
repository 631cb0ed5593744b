"""What pages and tables of this project have in common: figures as people read them, and plots as inline SVG."""
