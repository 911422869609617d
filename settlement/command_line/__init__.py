"""What `tongdui-settle` shows and takes: arguments, tables, CSV and JSON."""
