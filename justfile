# The daily commands; each is one cargo command that works without just.

# what changed is sound: format, tidy, spec, packaging, deny, clippy, docs
check:
    cargo xtask check

# everything that can fail: what CI runs
test:
    cargo xtask test

# the tests of one crate: just unit martlet-codec
unit package:
    cargo test -p {{package}}

# check the citations and write docs/conformance.md
spec:
    cargo xtask spec

# the rules that no lint knows
tidy:
    cargo xtask tidy

# start the broker on 127.0.0.1:1883
run *arguments:
    cargo run --release -- {{arguments}}
