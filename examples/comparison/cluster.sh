#!/bin/sh
# The search by Trellis with a coordinator and two workers of one slot each.
trellis coordinator --listen 127.0.0.1:7391 --data data & coordinator=$!
sleep 1
trellis worker --coordinator 127.0.0.1:7391 --programs --slots 1 --name one --cache-dir one & one=$!
trellis worker --coordinator 127.0.0.1:7391 --programs --slots 1 --name two --cache-dir two & two=$!
trellis submit --coordinator 127.0.0.1:7391 --watch trellis.yaml
kill $one $two
wait $one $two
kill $coordinator
wait $coordinator
