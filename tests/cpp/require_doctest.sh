#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C++ tests need doctest's header: install Debian's package where that is possible.
for dir in /usr/include /usr/local/include; do
  [ -f "$dir/doctest/doctest.h" ] && exit 0
done
echo "installing doctest-dev (header of the C++ test framework)"
if [ "$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi
if command -v apt-get >/dev/null && $sudo apt-get update -qq && $sudo apt-get install -y -qq doctest-dev; then
  exit 0
fi
echo "error: doctest/doctest.h not found. Install it (Debian, Ubuntu: sudo apt-get install doctest-dev)" >&2
exit 1
