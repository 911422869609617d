"""The commands of `tongdui-adapter`: each module adds its own to the parser and runs them."""
