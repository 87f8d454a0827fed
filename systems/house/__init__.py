"""A house with four rooms and four air-to-air heat pumps."""
