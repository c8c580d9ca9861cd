/**
 * What is told while something takes its time, in the mode that MIRRORD_PROGRESS_MODE names (as mirrord's
 * IDE plugins set it):
 *
 *     standard   for people: on a terminal a spinner, elsewhere a line for each step over half a second
 *     dumb       a line for each step (`simple` is the same)
 *     json       a JSON object a line: NewTask, FinishedTask, Warning, Info; IdeMessage, for those who say
 *                by MIRRORD_PROGRESS_SUPPORT_IDE=true that they know what it is
 *     off        nothing, not even warnings
 *
 * All of it on stderr: stdout belongs to the program. (A command that is for IDEs only, mirrord's `ext`,
 * has no program there, and says its JSON on stdout: it gives a `write` of its own.)
 */

import {chalkStderr} from 'chalk';
import yoctoSpinner from 'yocto-spinner';

/** A step that is done sooner needs no words. */
const noticeableMs = 500;

export type ProgressMode = 'standard' | 'dumb' | 'json' | 'off';

/** Something that is shown by itself, with links, and that a person may ask not to be shown again. */
export interface Notice {
  /** Stands for all that are muted together. */
  id: string;
  level: 'Info' | 'Warning';
  text: string;
  links?: readonly {label: string; link: string}[];
}

export interface Progress extends Disposable {
  /** Runs `work` as a step with this name. */
  step<T>(name: string, work: () => T | Promise<T>): Promise<T>;
  /** Something that a person should know although all goes on. */
  warn(message: string): void;
  info(message: string): void;
  /** As `warn` or `info`, to those who can't show more; the links are in the text then. */
  notify(notice: Notice): void;
  /** The task has succeeded. Disposed of without it, the task has failed. */
  finish(message?: string): void;
}

export interface ProgressOptions {
  /** By default what the environment says. */
  mode?: ProgressMode;
  /** By default stderr. */
  write?: (text: string) => void;
  /** Whether IdeMessage is understood; by default what the environment says. */
  supportsIde?: boolean;
}

type End = (success: boolean, message?: string) => void;

/** How a mode shows things. `parent` is the task that a step belongs to, null for the task itself. */
interface Display {
  begin(name: string, parent: string | null): End;
  say(kind: 'Warning' | 'Info', message: string): void;
  /** Undefined where `say` has to do. */
  notify?: (notice: Notice) => void;
}

/** The mode that MIRRORD_PROGRESS_MODE asks for; `standard` for anything unknown. */
export function progressMode(env: NodeJS.ProcessEnv = process.env): ProgressMode {
  const wanted = env['MIRRORD_PROGRESS_MODE'];
  if (wanted === 'simple') return 'dumb';
  return wanted === 'json' || wanted === 'dumb' || wanted === 'off' ? wanted : 'standard';
}

/** mirrord's IDE protocol: the order of the keys is as mirrord writes them. */
function jsonDisplay(write: (text: string) => void, supportsIde: boolean): Display {
  const line = (message: object): void => write(`${JSON.stringify(message)}\n`);
  return {
    begin(name, parent) {
      line({type: 'NewTask', name, parent});
      return (success, message) =>
        line({type: 'FinishedTask', name, success, message: message ?? null});
    },
    say: (kind, message) => line({type: kind, message}),
    ...(supportsIde && {
      notify({id, level, text, links = []}) {
        const actions = links.map(({label, link}) => ({kind: 'Link', label, link}));
        line({type: 'IdeMessage', message: {id, level, text, actions}});
      },
    }),
  };
}

function dumbDisplay(write: (text: string) => void): Display {
  const line = (text: string): void => write(`${text}\n`);
  return {
    begin(name) {
      line(name);
      return (_, message) => {
        if (message !== undefined) line(message);
      };
    },
    say: (_, message) => line(message),
  };
}

/** For people: steps that last, and what is said; the task's own name and end are no news to them. */
function standardDisplay(write: (text: string) => void): Display {
  let spinner: ReturnType<typeof yoctoSpinner> | undefined;
  const show = (name: string): void => {
    if (process.stderr.isTTY) {
      spinner = yoctoSpinner({text: `mirrord: ${name}`, stream: process.stderr}).start();
    } else {
      write(`mirrord: ${name} …\n`);
    }
  };
  return {
    begin(name, parent) {
      if (parent === null) return () => undefined;
      // Late: a flicker for a step of some milliseconds only disturbs.
      const timer = setTimeout(show, noticeableMs, name);
      return () => {
        clearTimeout(timer);
        spinner?.stop();
        spinner = undefined;
      };
    },
    say(kind, message) {
      spinner?.clear();
      const head = kind === 'Warning' ? chalkStderr.yellow('mirrord:') : 'mirrord:';
      write(`${head} ${message}\n`);
    },
  };
}

const silent: Display = {begin: () => () => undefined, say: () => undefined};

interface DisplayOptions {
  mode: ProgressMode;
  write: (text: string) => void;
  supportsIde: boolean;
}

function createDisplay({mode, write, supportsIde}: DisplayOptions): Display {
  switch (mode) {
    case 'json':
      return jsonDisplay(write, supportsIde);
    case 'dumb':
      return dumbDisplay(write);
    case 'standard':
      return standardDisplay(write);
    case 'off':
      return silent;
  }
}

/** Begins to show the progress of a task, of which every step is a part. */
export function createProgress(task: string, options: ProgressOptions = {}): Progress {
  const display = createDisplay({
    mode: options.mode ?? progressMode(),
    write: options.write ?? ((text) => process.stderr.write(text)),
    supportsIde: options.supportsIde ?? process.env['MIRRORD_PROGRESS_SUPPORT_IDE'] === 'true',
  });
  const end = display.begin(task, null);
  let isFinished = false;
  const finish: End = (success, message) => {
    if (!isFinished) end(success, message);
    isFinished = true;
  };
  return {
    async step(name, work) {
      const endStep = display.begin(name, task);
      try {
        const result = await work();
        endStep(true);
        return result;
      } catch (error) {
        endStep(false);
        throw error;
      }
    },
    warn: (message) => display.say('Warning', message),
    info: (message) => display.say('Info', message),
    notify(notice) {
      const {level, text, links = []} = notice;
      if (display.notify !== undefined) display.notify(notice);
      else display.say(level, [text, ...links.map(({link}) => link)].join(' '));
    },
    finish: (message) => finish(true, message),
    [Symbol.dispose]: () => finish(false),
  };
}
