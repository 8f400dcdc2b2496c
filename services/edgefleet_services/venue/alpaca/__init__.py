"""The simulated venue in Alpaca's dialect: trading and market data over REST, their two streams, one cash account."""
