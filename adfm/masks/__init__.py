"""From boxes to pixels: segmenters that `masks=` chooses, and masks as COCO's run lengths."""
