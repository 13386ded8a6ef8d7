#!/bin/sh
# Train one recipe on a TPU slice of a GKE cluster through xpk, which restarts a preempted slice as a whole.
set -eu
: "${CLUSTER:?name of the cluster}" "${IMAGE:?image with audio-train installed}"
RECIPE="${RECIPE:-exp2.1-0.6b}"

xpk workload create \
  --cluster "$CLUSTER" \
  --workload audio-train \
  --tpu-type v5p-128 \
  --docker-image "$IMAGE" \
  --max-restarts 100 \
  --command "audio-train run $RECIPE --data /mnt/store/data --out /mnt/store/runs/$RECIPE --distributed auto"
