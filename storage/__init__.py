"""How bytes become a grid, and how nodes keep it."""
