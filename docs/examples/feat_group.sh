#!/bin/sh
# Run as: feat_group.sh GFEAT OUT. Repeats the group model of a FEAT folder with permutation.
set -e
gfeat=$1
out=$2

nipype-group run "$out" --stack "$gfeat/cope1.feat/filtered_func_data.nii.gz" \
    --mask "$gfeat/cope1.feat/mask.nii.gz" --design "$gfeat/cope1.feat/design.mat" \
    --contrast "$gfeat/cope1.feat/design.con" --contrast "$gfeat/cope1.feat/design.fts" \
    --permutations 500 --height-control none --threshold-z 2.3 --atlas none --no-regions
