/**
 * The settings of a cut-out: those of the command `nss-wgpu remove`, with its names, meaning and ranges.
 *
 * @typedef {import('./layers.mjs').Background} Background
 * @typedef {object} Refinement in the order in which the mask is refined
 * @property {number} guided radius of the guided filter that moves edges to the photo's, in photo pixels, 0..1000
 * @property {number} black mask values up to this become 0; 0..`white`
 * @property {number} white mask values from this on become 1; `black`..1, and a threshold where both are one
 * @property {number} drop_islands islands of fewer square pixels go
 * @property {number} fill_holes holes of fewer square pixels are filled
 * @property {number} smooth scale of the contour's smoothing, in photo pixels, 0..1000
 * @property {number} expand by how much contours move outwards, in photo pixels, -200..200
 * @property {number} feather standard deviation of the blur of edges, in photo pixels, 0..1000
 * @typedef {object} Settings
 * @property {Background} background
 * @property {Refinement} refinement
 * @property {number} decontaminate 0..1
 * @property {'keep' | 'bleed' | 'zero'} hidden the colour under full transparency
 * @property {boolean} invert
 * @property {number | null} crop pixels left around the subject; null for the whole picture
 */

/**
 * @typedef {object} Field a number
 * @property {string} label
 * @property {string} hint what it does, in a sentence
 * @property {string} unit as it is shown; '' where there is none
 * @property {string} words the unit, as it is said
 * @property {number} min
 * @property {number} max what is possible
 * @property {[number, number]} slider what the slider offers of it: what is of use for most photos
 * @property {number} step of the slider
 * @property {number} initial
 */

/** @param {Omit<Field, 'unit' | 'words' | 'min' | 'max' | 'slider' | 'step' | 'initial'> & Partial<Field>} field */
const pixels = field => ({
  unit: 'px', words: 'in pixels of the photo', min: 0, max: 1000, slider: /** @type {[number, number]} */ ([0, 20]),
  step: 0.5, initial: 0, ...field,
});

/** @param {Pick<Field, 'label' | 'hint'>} field */
const area = field => ({
  unit: 'px²', words: 'in square pixels of the photo', min: 0, max: 1e9,
  slider: /** @type {[number, number]} */ ([0, 1000]), step: 10, initial: 0, ...field,
});

/** @param {Pick<Field, 'label' | 'hint' | 'initial'>} field */
const part = field => ({
  unit: '', words: 'from 0 to 1', min: 0, max: 1, slider: /** @type {[number, number]} */ ([0, 1]), step: 0.01,
  ...field,
});

export const FIELDS = {
  smooth: pixels({ label: 'Smooth', hint: 'Evens out a contour in steps. Hair goes with it.' }),
  expand: pixels({
    label: 'Expand', hint: 'Moves the contour outwards; below 0, inwards.', min: -200, max: 200, slider: [-20, 20],
  }),
  feather: pixels({ label: 'Feather', hint: 'Softens the edge.' }),
  guided: pixels({
    label: 'Follow the photo', hint: 'Moves the edge to the photo’s, within this radius.', slider: [0, 40], step: 1,
  }),
  black: part({ label: 'Black point', hint: 'Mask values up to this are removed: no grey veil.', initial: 0 }),
  white: part({ label: 'White point', hint: 'Mask values from this on are kept: nothing shows through.', initial: 1 }),
  threshold: part({ label: 'Threshold', hint: 'Below this the mask is removed, from this on kept.', initial: 0.5 }),
  drop_islands: area({ label: 'Remove islands', hint: 'Specks with fewer pixels than this go.' }),
  fill_holes: area({ label: 'Fill holes', hint: 'Holes with fewer pixels close. Gaps between hairs are holes too.' }),
  decontaminate: {
    ...part({
      label: 'Take out the background’s colour', initial: 0,
      hint: 'From hair and other soft edges, by this amount. Done in the file, not shown here.',
    }),
    step: 0.05,
  },
  crop: pixels({
    label: 'Space around it', hint: 'Left around the subject. Done in the file, not shown here.', max: 100000,
    slider: [0, 200], step: 1, initial: 20,
  }),
  blur: pixels({
    label: 'Strength', hint: 'Standard deviation of the blur.', min: 0.5, slider: [0.5, 100], initial: 20,
  }),
};

/** @typedef {keyof typeof FIELDS} FieldName */

/** What each choice for the colour under full transparency means, and what follows from it. */
export const HIDDEN = {
  keep: {
    label: 'Keep the photo’s',
    hint: 'What is removed is only transparent: its colours stay in the file, and whoever has it can restore the '
      + 'background.',
  },
  bleed: {
    label: 'Continue the edge’s',
    hint: 'No trace of the background, and no dark rim where a program scales the file.',
  },
  zero: { label: 'Black', hint: 'No trace of the background, and the smallest file.' },
};

/** @returns {Settings} nothing asked for: the network's mask beside the photo's own colours */
export const defaults = () => ({
  background: null,
  refinement: { smooth: 0, expand: 0, feather: 0, black: 0, white: 1, drop_islands: 0, fill_holes: 0, guided: 0 },
  decontaminate: 0,
  hidden: 'keep',
  invert: false,
  crop: null,
});
