{# Takes position i<axis> on an axis of `extent` off `rest`, which is not negative: one unsigned division, by a uniform. #}
  let above{{ axis }} = i32(u32(rest) / u32({{ extent }}));
  let i{{ axis }} = rest - above{{ axis }} * {{ extent }};
  rest = above{{ axis }};
