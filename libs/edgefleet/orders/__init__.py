"""The life of an order: from a target that risk approved to the fills a venue reports. Pure; knows no venue's wire."""
