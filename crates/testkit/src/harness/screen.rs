//! A terminal, as far as a line editor uses it.

/// A screen of fixed width and any length.
#[derive(Debug)]
pub struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    width: usize,
}

impl Screen {
    /// Returns the lines that `bytes` produce, without blanks at their ends but one after a prompt.
    ///
    /// # Panics
    /// On a control sequence that it does not implement.
    pub fn of(bytes: &[u8], width: usize) -> Vec<String> {
        let mut screen = Self { lines: vec![Vec::new()], row: 0, column: 0, width };
        let text = String::from_utf8_lossy(bytes);
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\r' => screen.column = 0,
                '\n' => screen.down(),
                '\u{8}' => screen.column = screen.column.saturating_sub(1),
                '\u{7}' => {}
                '\u{1b}' => screen.escape(&mut characters),
                other => screen.put(other),
            }
        }
        let shown = |line: &Vec<char>| {
            let line: String = line.iter().collect();
            let trimmed = line.trim_end();
            if trimmed == ">" { "> ".to_owned() } else { trimmed.to_owned() }
        };
        screen.lines.iter().map(shown).collect()
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.width {
            self.column = 0;
            self.down();
        }
        let line = &mut self.lines[self.row];
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = character;
        self.column += 1;
    }

    /// Control sequences (ECMA-48 §5.4). One that is not known is a mistake of this screen.
    fn escape(&mut self, characters: &mut std::str::Chars<'_>) {
        if characters.next() != Some('[') {
            return;
        }
        let mut parameters = String::new();
        let last = loop {
            match characters.next() {
                Some(digit @ ('0'..='9' | ';' | '?')) => parameters.push(digit),
                Some(last) => break last,
                // Not all of it has come yet.
                None => return,
            }
        };
        let count: usize = parameters.parse().unwrap_or(1);
        match last {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => (0..count).for_each(|_| self.down()),
            'C' => self.column = (self.column + count).min(self.width),
            'D' => self.column = self.column.saturating_sub(count),
            'G' => self.column = count - 1,
            'K' => self.lines[self.row].truncate(self.column),
            'J' => {
                self.lines.truncate(self.row + 1);
                self.lines[self.row].truncate(self.column);
            }
            'm' | 'h' | 'l' => {}
            other => panic!("the screen does not know {parameters}{other}"),
        }
    }
}
