module tempo-stack/ci/schemas

go 1.24

require k8s.io/kubernetes v1.31.14
