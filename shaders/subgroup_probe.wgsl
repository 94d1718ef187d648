// How a workgroup of 256 invocations falls into subgroups: y[i] = the size of invocation i's, y[256 + i] = its place in it.
//
// The host guarantees: one workgroup, and 512 elements. For Dawn alone, where kernels with matrix units need to know it.
enable subgroups;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  y[local] = size;
  y[256u + local] = place;
}
