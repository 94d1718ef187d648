// The ranges of the settings, written down for the test in Python that holds them against the command's.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { FIELDS, HIDDEN, defaults } from '../../../web/page/fields.mjs';

test('sliders and defaults lie within what is possible', () => {
  for (const [name, { min, max, slider, initial }] of Object.entries(FIELDS)) {
    assert.ok(min <= slider[0] && slider[0] < slider[1] && slider[1] <= max, name);
    assert.ok(slider[0] <= initial && initial <= slider[1], name);
  }
  const written = { fields: FIELDS, hidden: Object.keys(HIDDEN), defaults: defaults() };
  fs.writeFileSync(process.env.NSS_FIELDS, JSON.stringify(written));
});
