module tempo-stack/ci/tools/pause

go 1.21
