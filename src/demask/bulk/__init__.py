"""Write any number of images in bounded memory."""
