"""What bench/compare is made of: nodes and dockerd (what is compared), variants (which of them on which path), metrics and runner
(measuring), statistics and targets (judging), report and plot (telling), growth and quoted (two measurements of their own)."""
