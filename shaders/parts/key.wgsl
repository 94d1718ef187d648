// An unsigned integer for each element, in the order in which the elements are: -0 is 0, and NaN is {{ "above" if nan_above else "below" }} all.
{% if dtype == "f32" %}
fn key(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return {{ "0xffffffffu" if nan_above else "0u" }};
  }
  if (magnitude == 0u) {
    return 0x80000000u;
  }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
{% elif dtype == "i32" %}
fn key(x: i32) -> u32 {
  return bitcast<u32>(x) ^ 0x80000000u;
}
{% else %}
fn key(x: u32) -> u32 {
  return x;
}
{% endif %}
