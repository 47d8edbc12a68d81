"""Two atlases, or an atlas and a table of answers, over the images that both hold."""
