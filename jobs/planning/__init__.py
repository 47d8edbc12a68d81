"""What is going to be done, found out before any worker starts: the network, the data, and what the output holds."""
