"""The features' process: the market, its features and its bars kept in files and, as of now, in Redis."""
