"""The results of a campaign: records, summary, table and page."""
