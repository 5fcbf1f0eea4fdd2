"""Files of images and masks: their headers, and their pixels as people mean them."""
