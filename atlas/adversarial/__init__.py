"""What fools the network: small changes of images, noise that is taken for something, and how little it needs."""
