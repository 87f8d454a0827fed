"""The kit of every page that nisse makes: one stylesheet, one palette, charts as data. Knows nothing of nisse."""
