"""Images made again from what a layer keeps of them."""
