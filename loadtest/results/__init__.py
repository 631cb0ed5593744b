"""What a campaign measured: records, summary, table and page."""
