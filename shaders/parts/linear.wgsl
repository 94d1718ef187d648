// The index of this invocation in a one-dimensional grid that goes on along y where x ends.
fn linear_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> i32 {
  return i32((group.y * groups.x + group.x) * {{ invocations }}u + local);
}

