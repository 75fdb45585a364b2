// The rounds of an experiment label its trials. The experiment defines their order and titles.
import { colour } from "./look.js";

const COLOURS = ["c1", "c2", "c3", "c4", "c6", "c5"];

/**
 * The rounds with finished or planned trials, in order: label, and the server's data of the round.
 * @param {any} experiment
 * @returns {[string, any][]}
 */
export const roundsOf = (experiment) => Object.entries(experiment.rounds).filter(([, round]) => /** @type {any} */ (round).trials > 0);

/** A round's label and title; the title alone when both are equal. @param {any} experiment @param {string} label */
export function roundName(experiment, label) {
  const round = experiment.rounds[label];
  return !round ? label : round.title === label || !round.planned ? round.title : `${label} ${round.title}`;
}

/** A round's title. @param {any} experiment @param {string} label */
export const roundTitle = (experiment, label) => experiment.rounds[label]?.title ?? label;

/** The name of a round's colour in the style sheet. @param {any} experiment @param {string} label */
export function roundShade(experiment, label) {
  const place = Object.keys(experiment.rounds).indexOf(label);
  return COLOURS[(place < 0 ? COLOURS.length - 1 : place) % COLOURS.length];
}

/** The colour of a round. @param {any} experiment @param {string} label */
export const roundColour = (experiment, label) => colour(roundShade(experiment, label));
